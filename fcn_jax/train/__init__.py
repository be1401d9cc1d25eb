"""Training: joins operations, networks and data into runs that can be stopped and compared."""
