"""From an upstream author's state_dict to bevkit's."""
