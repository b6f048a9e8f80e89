"""Who gets which server. Start with pool.py; limits.py is what pools share."""
