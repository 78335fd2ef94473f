//! Sessions: limits, replacement, timeouts and events.

use super::super::End;
use super::*;
use crate::transport::peer::PeerState;

async fn publish(endpoint: &WhipEndpoint) -> (Peer, String) {
    let (client, offer) = offer(publishes()).await;
    let response = endpoint.handle(sdp(&offer), None, &links()).await;
    client.set_answer(std::str::from_utf8(response.body()).unwrap()).await.unwrap();
    (client, session(&response))
}

async fn watch(endpoint: &WhepEndpoint) -> Response<Bytes> {
    let (_client, offer) = offer(watches()).await;
    endpoint.handle(sdp(&offer), None, &links()).await
}

#[tokio::test]
async fn a_new_publisher_takes_the_place_of_the_one_before() {
    let endpoint = whip(Limits::default());
    let mut events = endpoint.events();
    let (_first, one) = publish(&endpoint).await;
    assert_eq!(next(&mut events).await, SessionEvent::Started { id: one.clone() });
    assert_eq!(next(&mut events).await, SessionEvent::Connected { id: one.clone() });
    // An offer that cannot be answered does not replace the publisher.
    assert_eq!(endpoint.handle(sdp("v=0"), None, &links()).await.status(), 400);
    let (_second, two) = publish(&endpoint).await;
    assert_eq!(next(&mut events).await, SessionEvent::Started { id: two.clone() });
    assert_eq!(next(&mut events).await, SessionEvent::Ended { id: one.clone(), reason: End::Replaced });
    assert_eq!(next(&mut events).await, SessionEvent::Connected { id: two.clone() });
    assert_eq!(endpoint.handle(request("DELETE", &[], ""), Some(&one), &links()).await.status(), 404);
    assert_eq!(endpoint.handle(request("DELETE", &[], ""), Some(&two), &links()).await.status(), 200);
    assert_eq!(next(&mut events).await, SessionEvent::Ended { id: two, reason: End::Deleted });
}

#[tokio::test]
async fn an_offer_for_which_nothing_connects_does_not_end_a_publication() {
    let endpoint = whip(Limits { connecting: 2, ..Limits::default() });
    let mut events = endpoint.events();
    let abandon = async || {
        let (_, offer) = offer(publishes()).await;
        endpoint.handle(sdp(&offer), None, &links()).await
    };
    let (_first, one) = publish(&endpoint).await;
    assert_eq!(next(&mut events).await, SessionEvent::Started { id: one.clone() });
    assert_eq!(next(&mut events).await, SessionEvent::Connected { id: one.clone() });
    let abandoned = session(&abandon().await);
    assert_eq!(next(&mut events).await, SessionEvent::Started { id: abandoned.clone() });
    let connection = endpoint.publisher().unwrap();
    assert_eq!(*connection.states().borrow(), PeerState::Connected);
    // They have a limit; a publisher that connects ends the one before, and none that is connecting.
    let (_second, two) = publish(&endpoint).await;
    assert_eq!(next(&mut events).await, SessionEvent::Started { id: two.clone() });
    assert_eq!(next(&mut events).await, SessionEvent::Ended { id: one, reason: End::Replaced });
    assert_eq!(next(&mut events).await, SessionEvent::Connected { id: two });
    assert_eq!(abandon().await.status(), 201);
    let refused = abandon().await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (503, "2"));
    assert_eq!(endpoint.handle(request("DELETE", &[], ""), Some(&abandoned), &links()).await.status(), 200);
}

#[tokio::test]
async fn a_publisher_that_closes_its_connection_has_ended_its_session() {
    let endpoint = whip(Limits::default());
    let mut events = endpoint.events();
    let (client, id) = publish(&endpoint).await;
    assert_eq!(next(&mut events).await, SessionEvent::Started { id: id.clone() });
    assert_eq!(next(&mut events).await, SessionEvent::Connected { id: id.clone() });
    client.close().await;
    loop {
        match next(&mut events).await {
            SessionEvent::Disconnected { .. } => {}
            SessionEvent::Ended { id: ended, reason } => {
                assert_eq!(ended, id);
                assert!(matches!(reason, End::Closed | End::Lost), "{reason:?}");
                break;
            }
            other @ (SessionEvent::Started { .. } | SessionEvent::Connected { .. }) => panic!("{other:?}"),
        }
    }
    assert!(endpoint.publisher().is_none());
}

#[tokio::test]
async fn a_publisher_that_sends_nothing_has_ended_its_session() {
    let limits = Limits { first_media: Duration::from_millis(100), ..Limits::default() };
    let endpoint = whip(limits);
    let mut events = endpoint.events();
    let (client, id) = publish(&endpoint).await;
    let mut last = next(&mut events).await;
    while !matches!(last, SessionEvent::Ended { .. }) {
        last = next(&mut events).await;
    }
    assert_eq!(last, SessionEvent::Ended { id, reason: End::NoMedia });
    let mut states = client.states();
    let over = states.wait_for(|state| state.is_over());
    assert!(tokio::time::timeout(LONG, over).await.unwrap().is_ok());
}

#[tokio::test]
async fn sessions_that_never_connect_are_removed() {
    let options = PeerOptions { connect_timeout: Duration::from_millis(200), ..loopback() };
    let endpoint = WhepEndpoint::new(publishes(), options, Limits::default());
    let mut events = endpoint.events();
    let id = session(&watch(&endpoint).await);
    assert_eq!(next(&mut events).await, SessionEvent::Started { id: id.clone() });
    let ended = next(&mut events).await;
    assert!(matches!(ended, SessionEvent::Ended { reason: End::NeverConnected | End::Closed, .. }), "{ended:?}");
    assert_eq!(endpoint.viewers(), 0);
    assert_eq!(endpoint.handle(request("GET", &[], ""), Some(&id), &links()).await.status(), 404);
}

#[tokio::test]
async fn viewers_are_limited() {
    let endpoint = whep(Limits { viewers: 2, ..Limits::default() });
    let first = session(&watch(&endpoint).await);
    assert_eq!(watch(&endpoint).await.status(), 201);
    let refused = watch(&endpoint).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (429, "2"));
    assert_cors(&refused);
    assert_eq!(endpoint.handle(request("DELETE", &[], ""), Some(&first), &links()).await.status(), 200);
    assert_eq!(watch(&endpoint).await.status(), 201);
}

#[tokio::test]
async fn connecting_sessions_are_limited() {
    let endpoint = whep(Limits { connecting: 1, ..Limits::default() });
    assert_eq!(watch(&endpoint).await.status(), 201);
    let refused = watch(&endpoint).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (503, "2"));
    endpoint.disconnect().await;
    assert_eq!(watch(&endpoint).await.status(), 201);
}

#[tokio::test]
async fn a_closed_endpoint_ends_all_sessions_and_takes_none() {
    let endpoint = whep(Limits::default());
    assert_eq!(watch(&endpoint).await.status(), 201);
    let connections = endpoint.connections();
    endpoint.close().await;
    assert_eq!(endpoint.viewers(), 0);
    assert!(connections.iter().all(|peer| *peer.states().borrow() == PeerState::Closed));
    let refused = watch(&endpoint).await;
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (503, "2"));
}

#[tokio::test]
async fn sessions_do_not_outlive_their_endpoint() {
    let endpoint = whip(Limits::default());
    let (client, _) = publish(&endpoint).await;
    let publisher = endpoint.publisher().unwrap();
    drop(endpoint);
    for peer in [publisher, client] {
        let mut states = peer.states();
        let over = states.wait_for(|state| state.is_over());
        assert!(tokio::time::timeout(LONG, over).await.unwrap().is_ok());
    }
}
