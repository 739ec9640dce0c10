"""Where logged events come from: Postgres for days that are not archived yet, Parquet for those that are."""
