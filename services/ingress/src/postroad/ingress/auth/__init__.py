"""Logins: SASL, verifiers, and the brake on guessing."""
