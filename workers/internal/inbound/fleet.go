package inbound

import (
	"context"
	"log/slog"
	"reflect"
	"sync"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/mail"
)

// A Fleet runs one Mover for each folder of each mailbox that the broker names, and follows changes.
type Fleet struct {
	Protocol string // for labels: IMAP
	// Source makes a folder's Source; it does not connect yet. The error is about the settings.
	Source func(s tokenclient.Settings, folder string) (Source, error)
	// Sink finds the sink that deliver-to names. The error says which names there are.
	Sink        func(name string) (Sink, error)
	Checkpoints Checkpoints
	Quarantine  Quarantine
	Share       *Share // nil = every folder is this worker's
	Options     Options
	Log         *slog.Logger
	Metrics     *Metrics
	Board       *Board

	mu      sync.Mutex
	turns   chan struct{}
	running map[mail.Folder]*running
	movers  sync.WaitGroup
}

// running is one folder that is being read.
type running struct {
	settings tokenclient.Settings
	stop     context.CancelFunc
	stopped  bool
	done     chan struct{}
}

// Set takes the full set of mailboxes. Folders that are new are started, those that are gone or changed are stopped after
// the messages that are on their way, and changed ones start again with their new settings. It does not wait. Everything
// stops when ctx ends; Wait tells when it has.
func (f *Fleet) Set(ctx context.Context, all []tokenclient.Settings) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := wantedFolders(all)
	for folder, r := range f.running {
		if s, ok := wanted[folder]; !ok || !reflect.DeepEqual(s, r.settings) {
			r.stop()
			r.stopped = true
		}
		if r.over() {
			delete(f.running, folder)
		}
	}
	for folder, s := range wanted {
		before := f.running[folder]
		if before == nil || before.stopped {
			f.start(ctx, folder, s, before)
		}
	}
}

// over says whether a folder was stopped and has ended.
func (r *running) over() bool {
	select {
	case <-r.done:
		return r.stopped
	default:
		return false
	}
}

// Wait returns when all Movers have stopped. Set is not to be called any more.
func (f *Fleet) Wait() { f.movers.Wait() }

func wantedFolders(all []tokenclient.Settings) map[mail.Folder]tokenclient.Settings {
	wanted := map[mail.Folder]tokenclient.Settings{}
	for _, s := range all {
		for _, name := range s.Inbound.Folders {
			wanted[mail.Folder{Mailbox: s.Mailbox, Name: name}] = s
		}
		if s.Inbound.Junk == tokenclient.JunkRead {
			wanted[mail.Folder{Mailbox: s.Mailbox, Name: JunkFolder}] = s
		}
	}
	return wanted
}

// start starts a folder once the one before it has ended; f.mu is held.
func (f *Fleet) start(ctx context.Context, folder mail.Folder, s tokenclient.Settings, before *running) {
	ctx, stop := context.WithCancel(ctx)
	r := &running{settings: s, stop: stop, done: make(chan struct{})}
	if f.running == nil {
		f.running = map[mail.Folder]*running{}
		f.turns = make(chan struct{}, f.Options.withDefaults().Cycles)
	}
	f.running[folder] = r
	f.movers.Go(func() {
		defer close(r.done)
		defer stop()
		if before != nil {
			<-before.done
		}
		f.run(ctx, folder, s)
	})
}

// run moves one folder's mail until ctx ends.
func (f *Fleet) run(ctx context.Context, folder mail.Folder, s tokenclient.Settings) {
	status := f.Board.Folder(folder, f.Protocol)
	m, err := f.mover(folder, s, status)
	if err != nil {
		status.Fail(err)
		f.Log.Error("cannot read the folder", "mailbox", folder.Mailbox, "folder", folder.Name, "error", err)
		<-ctx.Done() // until the settings change
		status.stopped()
		return
	}
	m.Run(ctx)
}

func (f *Fleet) mover(folder mail.Folder, s tokenclient.Settings, status *Status) (*Mover, error) {
	sink, err := f.Sink(s.Inbound.DeliverTo)
	if err != nil {
		return nil, err
	}
	source, err := f.Source(s, folder.Name)
	if err != nil {
		return nil, err
	}
	return &Mover{
		Folder: folder, Protocol: f.Protocol, Source: source, Sink: sink, Checkpoints: f.Checkpoints, Quarantine: f.Quarantine, Share: f.Share,
		Rules: Rules{
			Cycle: s.Inbound.CycleTime, MaxSize: s.Inbound.MaxSize, MaxNumber: s.Inbound.MaxNumber,
			CountJunk: s.Inbound.Junk == tokenclient.JunkCount && folder.Name == s.Inbound.Folders[0],
		},
		Options: f.Options, Turns: f.turns, Log: f.Log, Metrics: f.Metrics, Status: status,
	}, nil
}
