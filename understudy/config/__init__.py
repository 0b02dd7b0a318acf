"""How a network is trained, as plain descriptions: length, optimizer, schedules, stages, precision and device."""
