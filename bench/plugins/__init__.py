"""What others bring: loading of their methods and suites, and the processes their code runs in."""
