"""Logins: SASL, checking passwords against verifiers, and the brake on guessing."""
