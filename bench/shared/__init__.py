"""What several benches do alike: data, structures, trainings, clocks."""
