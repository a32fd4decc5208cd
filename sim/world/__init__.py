"""A scenario with everything in it looked up: endpoints, orders, what each model allows."""
