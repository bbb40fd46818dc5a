package ews

import (
	"bufio"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mailporter/workers/internal/fault"
)

// affinityCookie leads later calls of a subscription to the server that has it.
const affinityCookie = "X-BackEndOverrideCookie"

// subscription is one for new mail in the folder; an empty id: there is none.
type subscription struct {
	id, cookie string
}

const (
	longestStream = 29 * time.Minute // Exchange allows 30
	streamSilence = 3 * time.Minute  // it says that it lives at least every minute
)

// Wait implements inbound.Waiter. A new subscription tells nothing of what came before it, so Wait returns at once after
// making one: the caller looks once more and comes back.
func (s *Source) Wait(ctx context.Context, limit time.Duration) error {
	if s.subscription.id == "" {
		return s.subscribe(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errRested)
	defer cancel()
	err := s.stream(ctx, min(limit, longestStream))
	switch {
	case errors.Is(context.Cause(ctx), errRested):
		return nil // limit passed
	case subscriptionLost(err):
		s.subscription = subscription{}
		return nil // a look at the folder finds what was missed
	}
	return err
}

var errRested = errors.New("the time to wait is over")

func (s *Source) subscribe(ctx context.Context) error {
	folder, err := s.folder(ctx, s.config.Folder)
	if err != nil {
		return err
	}
	r := request{what: "subscribe", body: subscribeBody(folder), affine: true}
	res, err := s.open(ctx, r)
	if err != nil {
		return err
	}
	cookie := affinity(res)
	all, err := r.answers(res)
	if err != nil {
		return err
	}
	if err := all[0].fault(); err != nil {
		return fmt.Errorf("%s: %w", r.what, s.forget(err))
	}
	s.subscription = subscription{all[0].SubscriptionID, cookie}
	return nil
}

func subscribeBody(folder string) string {
	return "<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds>" + folder + "</t:FolderIds><t:EventTypes><t:EventType>NewMailEvent</t:EventType>" +
		"<t:EventType>CreatedEvent</t:EventType><t:EventType>MovedEvent</t:EventType></t:EventTypes></m:StreamingSubscriptionRequest></m:Subscribe>"
}

func affinity(res *http.Response) string {
	for _, c := range res.Cookies() {
		if c.Name == affinityCookie {
			return c.Value
		}
	}
	return ""
}

// stream reads events until the first one that tells of mail, or until the stream ends.
func (s *Source) stream(ctx context.Context, limit time.Duration) error {
	minutes := max(int((limit+time.Minute-1)/time.Minute), 1)
	r := request{what: "wait for events", body: eventsBody(s.subscription.id, minutes), cookie: s.subscription.cookie, silence: streamSilence}
	res, err := s.open(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	d := xml.NewDecoder(bufio.NewReader(res.Body))
	for {
		m, err := nextEvent(d)
		switch {
		case err == io.EOF:
			return nil // the server may end it at any time
		case err != nil:
			return fault.New(fault.Temporary, fmt.Errorf("%s: %w", r.what, err))
		}
		if err := m.fault(); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
		if m.Notifications != nil || m.Status == "Closed" {
			return nil
		}
	}
}

func eventsBody(id string, minutes int) string {
	return "<m:GetStreamingEvents><m:SubscriptionIds><t:SubscriptionId>" + escape(id) + "</t:SubscriptionId></m:SubscriptionIds>" +
		"<m:ConnectionTimeout>" + strconv.Itoa(minutes) + "</m:ConnectionTimeout></m:GetStreamingEvents>"
}

// nextEvent reads up to the end of the next answer about a subscription. The stream is one document behind the other, with
// nothing between them, and a document of its own for each sign of life.
func nextEvent(d *xml.Decoder) (message, error) {
	for {
		tok, err := d.Token()
		if err != nil {
			return message{}, err
		}
		start, ok := tok.(xml.StartElement)
		if !ok || !strings.HasSuffix(start.Name.Local, "ResponseMessage") && start.Name.Local != "Fault" {
			continue
		}
		if start.Name.Local == "Fault" {
			var f faultXML
			if err := d.DecodeElement(&f, &start); err != nil {
				return message{}, err
			}
			return message{Class: "Error", Code: f.Code, Text: f.Text, Values: f.Values}, nil
		}
		var m message
		return m, d.DecodeElement(&m, &start)
	}
}

// subscriptionLost: these end a subscription; the folder must be looked at, and another one made.
func subscriptionLost(err error) bool {
	for _, code := range []string{noSuchSubscript, "ErrorInvalidSubscription", "ErrorExpiredSubscription", "ErrorSubscriptionUnsubscribed", "ErrorReadEventsFailed",
		"ErrorMissedNotificationEvents", "ErrorInvalidWatermark", "ErrorSubscriptionAccessDenied", "ErrorNewEventStreamConnectionOpened", "ErrorProxyRequestNotAllowed"} {
		if hasReason(err, code) {
			return true
		}
	}
	return false
}

// goodbye bounds the end of a subscription.
const goodbye = 2 * time.Second

// unsubscribe gives the subscription back; a mailbox has twenty, and one that is left ends by itself after half an hour.
func (s *Source) unsubscribe() {
	if s.subscription.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	r := request{what: "unsubscribe", body: unsubscribeBody(s.subscription.id), cookie: s.subscription.cookie}
	if res, err := s.open(ctx, r); err == nil {
		_ = res.Body.Close() // whether it worked does not matter
	}
	s.subscription = subscription{}
}

func unsubscribeBody(id string) string {
	return "<m:Unsubscribe><m:SubscriptionId>" + escape(id) + "</m:SubscriptionId></m:Unsubscribe>"
}
