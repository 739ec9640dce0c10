"""What the bucket has of a day: a manifest and Parquet parts."""
