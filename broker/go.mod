module mailporter/broker

go 1.26.0
