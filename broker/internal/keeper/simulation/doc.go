// Package simulation proves the Keeper in a world that goes wrong: a fleet of real Keepers over a simulated store and a
// simulated provider, with virtual time and everything drawn from one seed. It holds no code besides its tests.
//
//	SIM_SEEDS=20000 go test ./internal/keeper/simulation    so many worlds
//	SIM_SEED=1234 go test ./internal/keeper/simulation      this one, with its trace
//
// # How a seed comes to mean one run
//
// Goroutines that are ready at the same moment run in any order, so nothing may depend on that order. The script, one
// goroutine, draws from a generator of its own. All else asks world.dice, whose numbers depend on the seed, the virtual
// moment and what is being done, and not on who came first; and since every trip to the store or the provider takes a random
// time in nanoseconds, two things that matter hardly ever happen at the same moment: in about one world of three thousand. The trace is sorted by time and text.
//
// # What is held to be true
//
// referee_test.go has the list: it sees every request, every write and every token that is handed out. served_test.go puts the
// service in front of the Keepers and holds that the audit has its line before a caller has its answer.
package simulation
