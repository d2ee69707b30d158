"""Mail whose site has no room or is down: put off, remembered in its order, and recalled."""
