"""A web server that follows the web configuration file of Prometheus exporters."""
