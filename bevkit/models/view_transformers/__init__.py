"""From camera features to the bird's-eye view."""
