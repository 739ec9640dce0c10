"""Closed days of the prediction log as Parquet in the bucket, and training sets from them (docs/archive.md)."""
