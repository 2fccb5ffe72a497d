"""One cell on several processes: network calls are shared out by rows, and weights too if they are asked."""
