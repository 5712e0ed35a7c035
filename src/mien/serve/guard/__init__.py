"""What every request passes first: keys, hosts, security headers, and a limit on requests at once."""
