"""What the service promises, and what follows from it: recording rules, alerts, their tests, receivers, dashboards."""
