"""How a command becomes runs: here, in several processes, or on a cluster; what ends them, and what became of them."""
