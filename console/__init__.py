"""The web console on the controller's port: pages for people over the same functions as the API."""
