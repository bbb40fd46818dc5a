module mailporter/workers

go 1.26.0

require (
	mailporter/gen v0.0.0
	mailporter/kit v0.0.0
)

replace mailporter/kit => ../kit

replace mailporter/gen => ../gen
