"""controller-runtime in Python: informers, work queues, controllers, a client."""
