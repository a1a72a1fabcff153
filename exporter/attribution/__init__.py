"""Which container uses which GPU: readings and allocations become labelled samples."""
