"""What Postgres has of a day, and what it knows of the archive."""
