// Package service is the broker's gRPC edge: it finds out who asks, decides by the policy whether they may, writes the
// decision down, and puts what the keeper answers into the contract's words. It alone knows the generated code.
//
//	who  identity.go   SPIFFE URI SAN, else DNS SAN, else common name of the client certificate
//	may  acquire.go    policy, rate, audit: in this order, the audit before the answer
//	     watch.go      the same for each entry of a stream
//	how  errors.go     the one place where faults become codes with ErrorInfo, RetryInfo, Help
package service
