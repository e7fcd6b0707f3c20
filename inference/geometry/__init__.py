"""Views laid over a volume, resampling between grids, regions and groups of views."""
