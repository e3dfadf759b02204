"""The service: models that answer over HTTP, by our own API and by the Open Inference Protocol, safe by default."""
