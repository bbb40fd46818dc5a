module mailporter/workers

go 1.26.0
