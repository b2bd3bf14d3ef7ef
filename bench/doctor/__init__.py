"""How many broken data sets the doctor catches, how many clean ones it refuses."""
