"""Records, events and orders as octets, and back: the only home of protobuf; and their bound."""
