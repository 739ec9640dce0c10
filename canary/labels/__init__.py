"""Labels: whether an event was fraud or legitimate, once that is known."""
