"""Measuring the relay beside what people would use instead, and looking where its time goes."""
