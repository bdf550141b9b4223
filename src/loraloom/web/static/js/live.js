// Shared by all tabs: holds the one event stream and hands on what it tells.
const ports = new Set();
let lost = false;
const source = new EventSource("/api/v1/events");

function tell(message) {
  for (const port of ports) port.postMessage(message);
}
source.onmessage = ({ data }) => tell(JSON.parse(data));
source.onerror = () => { lost = true; tell("lost"); };
source.onopen = () => { if (lost) { lost = false; tell("back"); } };
onconnect = ({ ports: [port] }) => {
  ports.add(port);
  port.onmessage = ({ data }) => { if (data === "bye") ports.delete(port); };
};
