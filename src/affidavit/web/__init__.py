"""HTTP: the API, its description, the page. Gets a built instance; never knows an engine."""
