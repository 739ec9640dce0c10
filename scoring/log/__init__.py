"""What was answered, and how it becomes durable."""
