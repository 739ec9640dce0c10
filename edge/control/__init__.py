"""The control application: what a route is, how it is called, and its documentation."""
