"""What runs the replay: processes of this machine, or a Spark cluster. Both give the same sums."""
