// Shared by all tabs: holds the one event stream and hands on what it tells.
const ports = new Set();
let lost = false;
let source;

function tell(message) {
  for (const port of ports) port.postMessage(message);
}
function listen() {
  source = new EventSource("/api/v1/events");
  source.onmessage = ({ data }) => tell(JSON.parse(data));
  source.onopen = () => { if (lost) { lost = false; tell("back"); } };
  source.onerror = () => {
    lost = true;
    tell("lost");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000); // signed out, perhaps
  };
}
listen();
onconnect = ({ ports: [port] }) => {
  ports.add(port);
  port.onmessage = ({ data }) => { if (data === "bye") ports.delete(port); };
};
