"""Where the cells of a run are worked on: in this process, in several beside each other, or on a cluster."""
