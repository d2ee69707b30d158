"""Delivery: takes mail from the queue and hands it to MX hosts and smarthosts."""
