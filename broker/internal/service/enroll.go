package service

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"mailporter/broker/internal/remedy"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// notServed answers the enrolment calls: the contract has them, this version does not.
func notServed() error {
	return refuse(codes.Unimplemented, "ENROLLMENT_NOT_SERVED", string(remedy.WrongConfig), "this version of the broker cannot ask a person for consent",
		"obtain the refresh token elsewhere and name its file as the mailbox's password").Err()
}

// Create implements the contract.
func (s *Server) Create(context.Context, *brokerv1.EnrollmentServiceCreateRequest) (*brokerv1.EnrollmentServiceCreateResponse, error) {
	return nil, notServed()
}

// Get implements the contract.
func (s *Server) Get(context.Context, *brokerv1.EnrollmentServiceGetRequest) (*brokerv1.EnrollmentServiceGetResponse, error) {
	return nil, notServed()
}

// Watch implements the contract.
func (s *Server) Watch(*brokerv1.EnrollmentServiceWatchRequest, grpc.ServerStreamingServer[brokerv1.EnrollmentServiceWatchResponse]) error {
	return notServed()
}

// Cancel implements the contract.
func (s *Server) Cancel(context.Context, *brokerv1.EnrollmentServiceCancelRequest) (*brokerv1.EnrollmentServiceCancelResponse, error) {
	return nil, notServed()
}
