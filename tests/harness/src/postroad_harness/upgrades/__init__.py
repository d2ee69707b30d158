"""What tests of upgrades need: an earlier build that runs."""
