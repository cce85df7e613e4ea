/* A phone for the lab that a browser is: stanza.js does Jingle, the browser does WebRTC.

   `browser_phone.py` serves this page, sends commands as server-sent events, and is told what
   happens by POST. stanza.js refuses every content-add; here it learns to add a content and to
   accept one, as Conversations, Dino and Movim do: creator is "initiator" whoever adds. */

import { createClient } from "stanza";
import { MediaSession } from "stanza/jingle";
import { exportToSDP, importFromSDP } from "stanza/jingle/sdp/Intermediate";
import {
  convertContentToIntermediate,
  convertIntermediateToRequest,
} from "stanza/jingle/sdp/Protocol";

const CAMERA = { width: 160, height: 120, frameRate: 10 };

let posted = Promise.resolve();

/** One event to whoever drives us; events arrive in their order. */
function say(event, members = {}) {
  const body = JSON.stringify({ event, ...members });
  posted = posted.then(() => fetch("/said", { method: "POST", body }));
}

/** A session that can be given a further content by either party in mid-call. */
class Session extends MediaSession {
  /** Offer this track as a content of its own. */
  add(track, stream) {
    return this.processLocal("add", async () => {
      this.pc.addTrack(track, stream);
      const offer = await this.pc.createOffer();
      const described = importFromSDP(offer.sdp);
      const media = described.media.at(-1);
      this.added = media.mid;
      await this.pc.setLocalDescription(offer);
      this.send("content-add", this.contents({ groups: [], media: [media] }));
    });
  }

  contents(described) {
    return convertIntermediateToRequest(described, this.role, this.transportType);
  }

  /** The peer's description with this content in it: one bundle, and in an answer only what we
      offered, since it is made from the peer's own offer where that was first. */
  withContent(changes, type) {
    const remote = importFromSDP(this.pc.remoteDescription.sdp);
    const local = importFromSDP(this.pc.localDescription.sdp);
    const media = convertContentToIntermediate(changes.contents[0], this.peerRole);
    remote.media = [...remote.media.filter((each) => each.mid !== media.mid), media];
    for (const each of remote.media) {
      each.setup = media.setup;
      const own = local.media.find(({ mid }) => mid === each.mid);
      if (type === "answer" && own) {
        const { rtpParameters: theirs } = each;
        const offered = own.rtpParameters;
        theirs.headerExtensions = theirs.headerExtensions.filter(({ id, uri }) =>
          offered.headerExtensions.some((one) => one.id === id && one.uri === uri),
        );
        theirs.codecs = theirs.codecs.filter(({ payloadType, name }) =>
          offered.codecs.some((one) => one.payloadType === payloadType && one.name === name),
        );
      }
    }
    remote.groups = [{ semantics: "BUNDLE", mids: remote.media.map((each) => each.mid) }];
    return exportToSDP(remote);
  }

  async onContentAdd(changes, done) {
    if (this.refusing) {
      this.refusing = false;
      super.onContentAdd(changes, done);
      return;
    }
    try {
      await this.pc.setRemoteDescription({ type: "offer", sdp: this.withContent(changes, "offer") });
      await this.processBufferedCandidates();
      const video = await navigator.mediaDevices.getUserMedia({ video: CAMERA });
      this.pc.addTrack(video.getTracks()[0], video);
      const answer = await this.pc.createAnswer();
      await this.pc.setLocalDescription(answer);
      done();
      const described = importFromSDP(this.pc.localDescription.sdp);
      const media = described.media.filter((each) => each.mid === changes.contents[0].name);
      // The bundle has its DTLS role already; Firefox names another one for the new content.
      for (const each of media) each.setup = described.media[0].setup;
      this.send("content-accept", this.contents({ groups: [], media }));
      say("added", { content: changes.contents[0].name });
    } catch (error) {
      say("failed", { what: "content-add", why: String(error) });
      done({ condition: "general-error" });
    }
  }

  async onContentAccept(changes, done) {
    try {
      await this.pc.setRemoteDescription({ type: "answer", sdp: this.withContent(changes, "answer") });
      await this.processBufferedCandidates();
      done();
      say("added", { content: changes.contents[0].name });
    } catch (error) {
      say("failed", { what: "content-accept", why: String(error) });
      done({ condition: "general-error" });
    }
  }

  /** What comes for a content that was refused meanwhile is late; stanza.js would fail at it. */
  async onTransportInfo(changes, done) {
    const known = importFromSDP(this.pc.remoteDescription?.sdp ?? "").media;
    const { name } = changes.contents[0];
    if (known.length > 0 && !known.some((each) => each.mid === name)) {
      done();
      return;
    }
    await super.onTransportInfo(changes, done);
  }

  async onContentReject(changes, done) {
    const { sender } = this.pc.getTransceivers().find((each) => each.mid === this.added);
    await this.pc.setLocalDescription({ type: "rollback" });
    this.pc.removeTrack(sender);
    done();
    say("refused");
  }
}

/** What this end has received, and over which path. */
async function stats(pc) {
  const reports = [...(await pc.getStats()).values()];
  const heard = Object.fromEntries(
    reports
      .filter((each) => each.type === "inbound-rtp")
      .map((each) => [each.kind, each.packetsReceived ?? 0]),
  );
  // Firefox knows no other word than `selected`, and keeps it for the pairs of before a restart.
  const transport = reports.find((each) => each.type === "transport");
  const since = (each) => each.lastPacketReceivedTimestamp ?? 0;
  const pair =
    reports.find((each) => each.id === transport?.selectedCandidatePairId) ??
    reports
      .filter((each) => each.type === "candidate-pair" && each.selected)
      .sort((one, other) => since(other) - since(one))[0];
  const end = (id) => {
    const found = reports.find((each) => each.id === id);
    return found && { address: found.address, port: found.port, type: found.candidateType };
  };
  return {
    heard,
    frames: reports.find((each) => each.type === "inbound-rtp" && each.kind === "video")
      ?.framesDecoded,
    near: end(pair?.localCandidateId),
    far: end(pair?.remoteCandidateId),
    credentials: [pc.currentLocalDescription, pc.currentRemoteDescription].map(
      (each) => each?.sdp.match(/a=ice-ufrag:(\S+)/)?.[1],
    ),
  };
}

async function main() {
  const options = await (await fetch("/options")).json();
  const client = createClient({
    jid: options.jid,
    password: options.password,
    resource: "phone",
    autoReconnect: false,
    transports: { websocket: false, bosh: false, [options.over]: options.url },
  });
  let session;
  client.jingle.iceServers = [];
  client.jingle.prepareSession = (meta) => new Session(meta);
  client.on("raw:incoming", (xml) => /jingle|<error/.test(xml) && say("stanza", { xml }));
  client.on("raw:outgoing", (xml) => /jingle|<error/.test(xml) && say("wrote", { xml }));
  client.on("stream:error", (error) => say("failed", { what: "stream", why: JSON.stringify(error) }));
  client.on("auth:failed", () => say("failed", { what: "login" }));
  client.on("disconnected", () => say("offline"));
  client.jingle.on("log:error", (text) => say("log", { text }));
  client.jingle.on("connectionState", (_, state) => say("ice", { state }));
  for (const name of ["hold", "resumed", "mute", "unmute"]) {
    client.on(`jingle:${name}`, () => say("informed", { of: name }));
  }
  client.on("jingle:accepted", () => say("accepted"));
  client.on("jingle:terminated", (_, reason) => say("ended", { reason }));

  const watch = () => {
    const { pc } = session;
    pc.addEventListener("connectionstatechange", () => {
      say("state", { state: pc.connectionState });
      if (pc.connectionState === "connected") say("connected");
    });
  };
  const devices = (video) =>
    navigator.mediaDevices.getUserMedia({ audio: true, video: video && CAMERA });

  client.on("jingle:incoming", async (incoming) => {
    session = incoming;
    watch();
    say("ringing");
    const stream = await devices(session.includesVideo);
    for (const track of stream.getTracks()) await session.addTrack(track, stream);
    await session.accept();
  });

  const senders = () => session.pc.getSenders().filter((each) => each.track ?? each.held);
  const commands = {
    async call({ to, video }) {
      const stream = await devices(video);
      session = new Session({
        config: client.jingle.config.peerConnectionConfig,
        iceServers: [],
        initiator: true,
        parent: client.jingle,
        peerID: to,
        stream,
      });
      client.jingle.addSession(session);
      watch();
      await session.start();
    },
    async add() {
      const stream = await navigator.mediaDevices.getUserMedia({ video: CAMERA });
      await session.add(stream.getTracks()[0], stream);
    },
    async mute({ on }) {
      const { mid } = session.pc.getTransceivers()[0];
      for (const { track } of senders()) track.enabled = !on;
      await session[on ? "mute" : "unmute"]("initiator", mid);
    },
    /** What hold is to a user: nothing is sent, not even silence. */
    async hold({ on }) {
      for (const each of senders()) {
        if (on) each.held = each.track;
        await each.replaceTrack(on ? null : each.held);
      }
      await session[on ? "hold" : "resume"]();
    },
    /** The next content-add is answered as stanza.js answers each. */
    refuse: () => {
      session.refusing = true;
    },
    restart: () => session.restartIce(),
    hangup: () => session.end(),
    async stats() {
      say("stats", await stats(session.pc));
    },
  };

  new EventSource("/commands").onmessage = async ({ data }) => {
    const command = JSON.parse(data);
    try {
      await commands[command.do](command);
    } catch (error) {
      say("failed", { what: command.do, why: `${error}\n${error.stack}` });
    }
  };
  client.on("session:started", () => {
    client.sendPresence();
    say("online", { agent: navigator.userAgent });
  });
  client.connect();
}

window.addEventListener("error", ({ message }) => say("failed", { what: "page", why: message }));
window.addEventListener("unhandledrejection", ({ reason }) =>
  say("failed", { what: "page", why: `${reason}\n${reason?.stack ?? ""}` }),
);
main();
