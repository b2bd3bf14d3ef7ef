"""Kills, flipped bits and bad inputs."""
