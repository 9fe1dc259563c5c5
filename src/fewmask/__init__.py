"""fewmask: masks for every image of a collection of which few have masks."""

__version__ = "0.1.0"
