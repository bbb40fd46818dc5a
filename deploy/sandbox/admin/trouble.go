package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"mailporter/sandbox/fault"
)

func (a *api) addFault(w http.ResponseWriter, r *http.Request) {
	var rule fault.Rule
	if err := json.NewDecoder(r.Body).Decode(&rule); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	id, err := a.sandbox.Faults().TryAdd(rule)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	answer(w, http.StatusCreated, map[string]string{"id": id})
}

func (a *api) clearFaults(w http.ResponseWriter, _ *http.Request) {
	a.sandbox.Faults().Clear()
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) removeFault(w http.ResponseWriter, r *http.Request) {
	if !a.sandbox.Faults().Remove(r.PathValue("id")) {
		refuse(w, http.StatusNotFound, fmt.Errorf("no fault %q", r.PathValue("id")))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// revocation names a token, or a user with all of his.
type revocation struct {
	Token  string `json:"token"`
	Tenant string `json:"tenant"`
	User   string `json:"user"`
}

func (a *api) revoke(w http.ResponseWriter, r *http.Request) {
	var v revocation
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	var err error
	switch {
	case v.Token != "":
		err = a.sandbox.Issuer().RevokeToken(v.Token)
	case v.User != "" && v.Tenant != "":
		err = a.sandbox.Issuer().RevokeUser(v.Tenant, v.User)
	default:
		refuse(w, http.StatusBadRequest, errors.New("give a token, or tenant (a directory id or google) and user"))
		return
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
