// Package fault makes the sandbox's servers fail on demand.
//
// A Plan is a list of rules. Before each step (a token request, a SELECT, the dot that ends a message) a server asks the
// Plan whether a rule wants to happen there; the first rule that matches does, as often as its Count says. The same rules
// are set from Go (Plan.Add) and over the admin HTTP API (a Rule as JSON).
package fault
