"""The kinds of manifests: Relay, Domain, Client and Quota; and the types of their fields."""
