"""The bank's web page: its files, and the browser's session, which keeps the refresh token out of scripts' reach."""
